"""Where and how jobs are placed and run, and what happens when they fail."""
