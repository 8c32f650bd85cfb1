"""Updates of devices: rules, files, test devices, the audit log, and logs that devices send."""
