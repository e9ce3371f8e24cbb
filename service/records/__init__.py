"""Conversations, completions and thumbs: where they are kept. Start reading at `store`, then `sql_store`.

Text arrives here masked (`model_store.contract.entities`) and checked (`service.api`); this package knows no HTTP.
Training never imports it: it reads the view `training_examples`, which `migrations` creates.
"""
