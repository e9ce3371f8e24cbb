"""Exports of help desks (Zendesk, Intercom, Chatwoot) as uniform rows, masked before anything is written."""
