"""One self-contained page about some studies: what was run, what came of it, how to run it again."""
