"""A real Kubernetes on one machine, for developing and testing the chart.

The parts, from below: ``settings`` (addresses and paths), ``shell`` (running programs), ``machine`` (may it run here),
``cgroups``, ``namespaces`` and ``network`` (what a machine of its own is made of), ``pki``, ``images``, ``control_plane``
and ``node`` (the programs of Kubernetes), ``netpol`` and ``volumes`` with the ``agent`` that runs them, ``own`` (the whole
cluster), ``elsewhere`` (a cluster that is there already, kind, k3d), ``__main__`` (the command).

Everything that lives is in network namespaces named after the cluster, and what is known of it is read from the kernel:
there are no files of process ids that could be wrong. Nothing of the machine's own network, firewall or kernel settings
is changed, but for one interface and the routes over it.
"""
