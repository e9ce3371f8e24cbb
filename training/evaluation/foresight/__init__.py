"""What can be said about a candidate before anyone sees it: from ratings that other versions earned."""
