"""What both programs do with a shop's help articles: offering one to the model, and finding it."""
