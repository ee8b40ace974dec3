"""The configuration: its settings, and reading, merging, checking and printing it."""
