"""Programs: `python -m experiments.<name>`."""
