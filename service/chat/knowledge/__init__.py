"""The shop's help articles: Markdown files in, quoted passages out."""
