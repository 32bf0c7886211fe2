"""Matrix sensing and deep matrix factorisation."""
