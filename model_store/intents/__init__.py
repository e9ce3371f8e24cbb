"""The intent model: what a customer's message is about, in the opinion of an encoder that has read far more than we.

It lies beside the versions, not in them: it never learns from thumbs, and all versions are heard with the same one.
"""
