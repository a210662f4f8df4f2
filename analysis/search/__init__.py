"""How the searches went: what they tried and found, what mattered, how far their choice can be trusted."""
