"""devrec-agent: which recording device captured this audio?"""

__version__ = "0.1.0"
