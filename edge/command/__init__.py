"""Commands: which are obeyed, and what is done then."""
