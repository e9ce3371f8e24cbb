"""What the scripted engine says to the messages of the browser tests, and the hostile texts it is made to say."""

from model_store.bundle import Bundle
from model_store.contract.control_tokens import ASSISTANT_ID, USER_ID
from model_store.contract.tokenizer import Tokenizer
from service.engine.types import CompletionRequest

PASSWORD_REPLY = (
    "No problem, that happens to all of us. Open <PASSWORD_PAGE>, enter your e-mail address, and we send you a "
    "link for a new password. It works for one hour."
)
CHINESE_REPLY = "别担心，您可以在<PASSWORD_PAGE>重设密码：输入注册邮箱，我们会马上发送重设链接。"
ORDER_REPLY = (
    "Thank you. Order <ORDER_ID> left our warehouse and is on its way to you; delivery takes <DELIVERY_TIME>.\n"
    "You can follow it at <TRACKING_PAGE>. Is there anything else I can do for you?"
)
OTHER_REPLY = "Hello! How can I help you with your order today?"
LONG_REPLY = " ".join(f"Sentence number {number} of a very long reply." for number in range(60))

XSS_CORPUS = (
    "<script>window.hasFired = true</script>",
    "<img src=x onerror='window.hasFired = true'>",
    "<svg onload='window.hasFired = true'></svg>",
    "<iframe src='javascript:parent.hasFired = true'></iframe>",
    "<a href='javascript:window.hasFired = true'>click</a>",
    "[click](javascript:window.hasFired=true)",
    "javascript:window.hasFired=true",
    'https://shop.example/"onmouseover="window.hasFired=true',
    "https://shop.example/'><img src=x onerror=window.hasFired=true>",
    "</p></li></ol><details open ontoggle=window.hasFired=true>",
    "<style>@import 'http://evil.example/x.css'</style>",
    "<link rel=stylesheet href=http://evil.example/x.css>",
    "<body onload=window.hasFired=true>",
    "<math><mtext><table><mglyph><style><img src=x onerror=window.hasFired=true>",
    "<input autofocus onfocus=window.hasFired=true>",
    "${window.hasFired=true} {{constructor.constructor('window.hasFired=true')()}}",
    "&lt;script&gt;window.hasFired=true&lt;/script&gt;",
    "data:text/html,<script>window.hasFired=true</script>",
    "<template><script>window.hasFired=true</script></template>",
    "\u202e<script>window.hasFired=true</script>",
)


def say_scripted(bundle: Bundle, request: CompletionRequest) -> str:
    """The masked text of a completion, by the last message of its prompt; `say 3` gives the corpus's fourth text."""
    message = _last_message(bundle, request)
    if message.startswith("say "):
        return XSS_CORPUS[int(message.removeprefix("say "))]
    for word, reply in (("password", PASSWORD_REPLY), ("密码", CHINESE_REPLY), ("order", ORDER_REPLY)):
        if word in message:
            return reply
    return {"long": LONG_REPLY, "nothing": ""}.get(message, OTHER_REPLY)


def _last_message(bundle: Bundle, request: CompletionRequest) -> str:
    tokenizer = Tokenizer.load(bundle.path("tokenizer.json"))
    token_ids = list(request.prompt_ids)
    start = len(token_ids) - token_ids[::-1].index(USER_ID)
    end = len(token_ids) - token_ids[::-1].index(ASSISTANT_ID) - 1
    return tokenizer.decode(token_ids[start:end])
