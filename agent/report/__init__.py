"""The report of ``classify`` and ``compare``: one self-contained HTML page for examiners."""
