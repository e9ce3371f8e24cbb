"""What a safety rule says by itself. The rules: `model_store.contract.safety`."""
