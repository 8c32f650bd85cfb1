"""Provisioning by SCIM 2.0 (RFC 7643, RFC 7644): users and groups of the directory as resources."""
