"""The intent model as files that are served: its graph, the heads in it, and how it is read back."""
