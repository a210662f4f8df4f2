"""How the searches went."""
