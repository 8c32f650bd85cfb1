"""Presence: one model of publications, containers and contacts, seen by Communicator and by standard phones alike."""
