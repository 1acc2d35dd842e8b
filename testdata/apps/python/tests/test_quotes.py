import unittest

from quotes import app
from quotes.sayings import SAYINGS


class Quotes(unittest.TestCase):
    def setUp(self):
        self.client = app.test_client()

    def test_every_quote_is_listed(self):
        answer = self.client.get("/quotes")
        self.assertEqual([quote["author"] for quote in answer.json], [saying["author"] for saying in SAYINGS])

    def test_a_quote_is_escaped(self):
        self.assertIn(b"that&#39;s", self.client.get("/quotes/0").data)

    def test_what_is_not_there(self):
        self.assertEqual(self.client.get(f"/quotes/{len(SAYINGS)}").status_code, 404)


if __name__ == "__main__":
    unittest.main()
