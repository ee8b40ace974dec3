"""Live inputs: finding, opening, supervising them."""
