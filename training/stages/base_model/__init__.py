"""The stages that make the first model from dialogues: corpus, pretrain, finetune, bundle."""
