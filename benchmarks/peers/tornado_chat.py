"""The page of Tornado's own chat demo (demos/chat), as far as it matters here: 50 messages, one by one from a
template of Tornado's, escaped, in a page. PORT.
"""

import asyncio
import sys
import uuid

from tornado.template import DictLoader
from tornado.web import Application, RequestHandler

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="UTF-8"><title>Tornado Chat Demo</title>
<link rel="stylesheet" href="/static/chat.css" type="text/css"></head>
<body><div id="body"><div id="inbox">
{% for message in messages %}{% module Template("message.html", message=message) %}{% end %}
</div><div id="input"><form action="/a/message/new" method="post" id="messageform"><table><tr>
<td><input type="text" name="body" id="message" style="width:500px"></td>
<td style="padding-left:5px"><input type="submit" value="Post"></td></tr></table></form></div></div>
<script src="/static/jquery.min.js"></script><script src="/static/chat.js"></script></body></html>
"""
MESSAGE = (
    '{% import tornado.escape %}<div class="message" id="m{{ message["id"] }}">{{ message["body"] }}</div>\n'
)


class Main(RequestHandler):
    messages = [{"id": str(uuid.uuid4()), "body": f"@{n:08} " + "x" * 50} for n in range(50)]

    def get(self) -> None:
        self.render("index.html", messages=self.messages)


async def main(port: int) -> None:
    loader = DictLoader({"index.html": PAGE, "message.html": MESSAGE})
    Application([("/", Main)], template_loader=loader).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


asyncio.run(main(int(sys.argv[1])))
