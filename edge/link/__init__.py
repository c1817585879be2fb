"""The MQTT session: connection, last will, subscriptions."""
