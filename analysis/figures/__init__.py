"""Pictures of numbers worked out elsewhere: for papers with matplotlib, for pages with plotly."""
