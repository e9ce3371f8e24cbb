"""Sign-in of the staff with OpenID Connect: the provider says who somebody is, the settings what they may do."""
