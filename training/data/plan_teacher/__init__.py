"""Teachers of plans: what else there is to learn from messages that nobody wrote, and from messages without labels.

`linear` is a bag of n-grams and needs nothing; `encoder` fine-tunes a pretrained multilingual sentence encoder
(`pretrained_encoder`). `unlabelled` makes the messages, with words replaced by their `neighbours`. Training time only:
what is served knows none of them.
"""
