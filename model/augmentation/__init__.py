"""Waveforms made worse on purpose: what recordings go through on their way to an examiner."""
