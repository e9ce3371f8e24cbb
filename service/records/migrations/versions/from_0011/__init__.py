"""One file a revision, in order, from the eleventh on."""
