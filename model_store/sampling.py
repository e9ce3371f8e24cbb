"""How the service draws a reply where the client does not say: training measures policies as people meet them.

Who draws: `service.engine.sampler` for people, `training.reformer.decoder` for training; a contract test holds the two
to the same distribution. Which plans may come first: `model_store.knowledge.offer.plans_for`.
"""

DEFAULT_TEMPERATURE = 0.7
DEFAULT_TOP_P = 0.9
OPENING_MIN_P = 0.5
"""A wording may be drawn at random, what it says should not be: plans half as likely as the best still get a chance."""
