"""Codes of a run as one page that opens without a server, and decodes in the browser.

`page.html` makes the file of a `Page`: arrays in, text out. `plans.plan` turns a decoder into plain
steps, which explorer.js runs on typed arrays.
"""

from vae_jax.explorer.page import LEAST_HALF, Conditions, Latent, Page, Probes, html
from vae_jax.explorer.plans import Plan, UnsupportedError, plan

__all__ = [
    "LEAST_HALF",
    "Conditions",
    "Latent",
    "Page",
    "Plan",
    "Probes",
    "UnsupportedError",
    "html",
    "plan",
]
