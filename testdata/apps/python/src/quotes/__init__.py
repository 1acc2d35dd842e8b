"""Says something wise, as HTML or JSON."""

from flask import Flask, abort, jsonify
from markupsafe import Markup

from .sayings import SAYINGS

app = Flask(__name__)


@app.get("/health")
def health():
    return "ok\n", 200, {"Content-Type": "text/plain"}


@app.get("/quotes")
def every():
    return jsonify([{"id": number, **saying} for number, saying in enumerate(SAYINGS)])


@app.get("/quotes/<int:number>")
def one(number):
    if number >= len(SAYINGS):
        abort(404)
    saying = SAYINGS[number]
    return Markup("<blockquote>{text}<footer>{author}</footer></blockquote>\n").format(**saying)
