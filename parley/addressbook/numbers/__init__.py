"""Phone numbers made alike: E.164 as ``tel:`` URIs, by the rules of a company and by those of a location."""
