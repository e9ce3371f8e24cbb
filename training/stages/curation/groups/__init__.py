"""Accounts that are as if they were one: all but everything that they rate has what other accounts' seldom has."""
