"""What to run next: stages, searches, and the one rule of choice."""
