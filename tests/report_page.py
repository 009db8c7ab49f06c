"""Reads a report's page back."""

import base64
from html.parser import HTMLParser

import cv2
import numpy as np


class Page(HTMLParser):
    """Collects pictures, table rows, links and text, and checks that tags close in order."""

    VOID = frozenset({"meta", "img", "br", "path", "circle", "link"})

    def __init__(self, text):
        super().__init__()
        self.images, self.rows, self.links, self.words, self.open, self.tags = [], [], [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.links += [attrs[key] for key in ("href", "src") if key in attrs]
        if tag == "img":
            head, data = attrs["src"].split(",", 1)
            picture = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
            self.images.append((attrs["alt"], head, picture[:, :, ::-1]))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if "tr" in self.open and self.rows and self.rows[-1]:
            self.rows[-1][-1] += data
