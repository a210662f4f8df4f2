"""One self-contained page about some studies."""
