"""Audio kept around events."""
