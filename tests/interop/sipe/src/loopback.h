/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HARNESS_LOOPBACK_H
#define HARNESS_LOOPBACK_H

/* Non-zero: media uses IPv4 loopback only and looks for no router. */
extern int harness_loopback_only;

#endif
