"""The page in the browser: a photograph in, the coarse and the refined prediction under a slider out.

Only page.py imports Gradio, the extra [app]. Imports deploy/, paddleseg/, evaluation/ and what lies below them.
"""

from paddle_pointrend.app.networks import Network, Prediction, load_network
from paddle_pointrend.app.page import serve

__all__ = ["Network", "Prediction", "load_network", "serve"]
