"""What each verb does, without parsing or printing."""
