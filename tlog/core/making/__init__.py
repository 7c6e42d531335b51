"""What only a log needs of the formats: drafts, segments, bucket keys. Nothing here is needed to verify."""
