"""The conferencing server for messages (MS-CONFIM): what one says in a conference, all others are told."""
