"""The paper's experiments, on any corpus."""
