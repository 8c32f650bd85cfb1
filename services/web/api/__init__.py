"""The REST interface ``/api/v1``: users, directory, what goes on, and who one is. Failures: RFC 9457."""
