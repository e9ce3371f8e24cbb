/**
 * The words of the chat, and the localizer that puts them on elements and changes them in place when the language is
 * switched. `{value}` stands for a value given with the key.
 */

const ENGLISH = {
  title: "Customer service",
  subtitle: "Replies in seconds",
  switchLanguage: "中文",
  newConversation: "New conversation",
  openChat: "Chat with us",
  openUnread: "Chat with us: there is a new reply",
  closeChat: "Close the chat",
  person: "Talk to a person",
  askForPerson: "I would like to talk to a person",
  greeting: "How can we help?",
  invitation: "Ask about orders, delivery, returns, payments or your account.",
  starters: "Common questions",
  messages: "Conversation",
  you: "You:",
  bot: "Assistant:",
  composer: "Your message",
  placeholder: "Write a message…",
  send: "Send",
  stop: "Stop",
  hint: "A bot writes these replies; your ratings teach it.",
  jump: "Jump to the latest message",
  rate: "Rate this reply",
  up: "Good reply",
  down: "Bad reply",
  copy: "Copy",
  copied: "Copied",
  answerAnew: "Answer again",
  quickReplies: "Suggested replies",
  version: "Model version {value}",
  stored: "Thank you, stored.",
  withdrawn: "Rating withdrawn.",
  whatWasWrong: "What was wrong?",
  comment: "Anything else? (optional)",
  sendComment: "Send",
  editComment: "Change",
  close: "Close",
  notStored: "Your rating could not be stored.",
  stopped: "Stopped.",
  cut: "The reply was cut off at its longest length.",
  empty: "The bot had nothing to say.",
  retry: "Try again",
  retryIn: "Try again in {value} s",
  editMessage: "Change the message",
  apiKey: "API key",
  useApiKey: "Use key",
  announceStopped: "Reply stopped.",
  started: "New conversation.",
};

const ENGLISH_ERRORS = {
  overloaded: "Many people are writing right now. Please wait a moment.",
  rate_limit_exceeded: "That was a lot at once. Please wait a moment.",
  draining: "The service is restarting. Please try again in a moment.",
  model_unavailable: "The assistant is not ready yet. Please try again in a moment.",
  completion_failed: "The reply could not be finished.",
  record_store_unavailable: "The service cannot store anything right now.",
  connection_lost: "The connection was lost. Please check your network.",
  offline: "You are offline. This goes on when you are back.",
  interrupted: "This reply was interrupted.",
  token_unavailable: "The chat cannot be reached right now. Please try again in a moment.",
  context_length_exceeded: "This message is too long. Please shorten it.",
  request_too_large: "This message is too long. Please shorten it.",
  invalid_api_key: "This service asks for an API key.",
  expired_feedback_token: "This reply is too old to be rated.",
  unknown: "Something went wrong.",
};

const CHINESE = {
  title: "在线客服",
  subtitle: "全天候秒级回复",
  switchLanguage: "English",
  newConversation: "新对话",
  openChat: "在线咨询",
  openUnread: "在线咨询：有新回复",
  closeChat: "关闭对话",
  person: "转人工客服",
  askForPerson: "我想找人工客服",
  greeting: "有什么可以帮您？",
  invitation: "订单、配送、退换货、付款或账户问题，都可以问我。",
  starters: "常见问题",
  messages: "对话",
  you: "您：",
  bot: "客服助手：",
  composer: "您的消息",
  placeholder: "请输入您的问题…",
  send: "发送",
  stop: "停止",
  hint: "回复由机器人生成，您的评价会帮助它改进。",
  jump: "跳到最新消息",
  rate: "评价这条回复",
  up: "回复得好",
  down: "回复不好",
  copy: "复制",
  copied: "已复制",
  answerAnew: "重新回答",
  quickReplies: "可选回复",
  version: "模型版本 {value}",
  stored: "谢谢，已保存。",
  withdrawn: "评价已撤回。",
  whatWasWrong: "哪里不好？",
  comment: "还有什么想说的？（选填）",
  sendComment: "提交",
  editComment: "修改",
  close: "关闭",
  notStored: "您的评价未能保存。",
  stopped: "已停止。",
  cut: "回复已达到最大长度，被截断。",
  empty: "机器人没有给出回复。",
  retry: "重试",
  retryIn: "{value} 秒后可重试",
  editMessage: "修改消息",
  apiKey: "API 密钥",
  useApiKey: "使用密钥",
  announceStopped: "回复已停止。",
  started: "已开始新对话。",
};

const CHINESE_ERRORS = {
  overloaded: "当前咨询人数较多，请稍候。",
  rate_limit_exceeded: "消息发得太快了，请稍候。",
  draining: "服务正在重启，请稍后再试。",
  model_unavailable: "客服助手尚未就绪，请稍后再试。",
  completion_failed: "这条回复没能完成。",
  record_store_unavailable: "服务暂时无法保存数据。",
  connection_lost: "连接已断开，请检查网络。",
  offline: "您已离线，网络恢复后会自动继续。",
  interrupted: "这条回复被中断了。",
  token_unavailable: "暂时无法连接客服，请稍后再试。",
  context_length_exceeded: "消息太长了，请缩短后再发送。",
  request_too_large: "消息太长了，请缩短后再发送。",
  invalid_api_key: "此服务需要 API 密钥。",
  expired_feedback_token: "这条回复时间太久，无法再评价。",
  unknown: "出了点问题。",
};

/** Reasons for a thumb down, as slugs of the feedback record. */
export const REASONS = ["wrong_intent", "mechanical", "blaming", "promising", "too_long", "incorrect"];

const ENGLISH_REASONS = {
  wrong_intent: "Not what I asked",
  mechanical: "Sounds mechanical",
  blaming: "Unfriendly",
  promising: "Promises too much",
  too_long: "Too long",
  incorrect: "Wrong information",
};

const CHINESE_REASONS = {
  wrong_intent: "答非所问",
  mechanical: "太机械",
  blaming: "不友好",
  promising: "承诺过多",
  too_long: "太长",
  incorrect: "信息有误",
};

/** Questions to begin with: the last one shows that the other language works too. */
const STARTERS = {
  en: [
    { text: "I forgot my password", language: "en" },
    { text: "Where is my order 10423?", language: "en" },
    { text: "I would like to return a jacket", language: "en" },
    { text: "我忘记了我的账户密码", language: "zh" },
  ],
  zh: [
    { text: "我忘记了我的账户密码", language: "zh" },
    { text: "我的订单 10423 到哪里了？", language: "zh" },
    { text: "我想退一件外套", language: "zh" },
    { text: "I forgot my password", language: "en" },
  ],
};

/** Every word, by language and table. */
export const TABLES = {
  en: { words: ENGLISH, errors: ENGLISH_ERRORS, reasons: ENGLISH_REASONS },
  zh: { words: CHINESE, errors: CHINESE_ERRORS, reasons: CHINESE_REASONS },
};

const STORAGE_KEY = "rejoinder.language";

/** The given language where it is spoken here, else the one chosen before, else the browser's first, else English. */
export function preferredLanguage(given) {
  const wanted = [given, readChoice(), ...navigator.languages.map((tag) => tag.toLowerCase().split("-")[0])];
  return wanted.find((language) => Object.hasOwn(TABLES, language)) ?? "en";
}

/** Puts words on elements of one root in the current language. */
export class Localizer {
  constructor(root, language) {
    this.#root = root;
    this.language = language;
  }

  #root;

  /** The questions to begin with. */
  get starters() {
    return STARTERS[this.language];
  }

  /** The words of a key; `errors.…` and `reasons.…` are the other tables. */
  words(key, value = "") {
    const [table, name] = key.includes(".") ? key.split(".") : ["words", key];
    return TABLES[this.language][table][name].replace("{value}", value);
  }

  /** The key of an error's words, or null where the service's own message has to do. */
  errorKey(error) {
    if (Object.hasOwn(ENGLISH_ERRORS, error.code)) return `errors.${error.code}`;
    return error.message ? null : "errors.unknown";
  }

  /** Writes words into a node. */
  text(node, key, value = "") {
    return this.#bind(node, "text", key, value);
  }

  /** Names a control that shows no words: its accessible name and its tooltip. */
  label(node, key, value = "") {
    return this.#bind(node, "label", key, value);
  }

  /** Names what is no control: its accessible name alone. */
  name(node, key) {
    return this.#bind(node, "name", key, "");
  }

  /** Writes a field's placeholder and accessible name. */
  placeholder(node, key) {
    return this.#bind(node, "placeholder", key, "");
  }

  /** Changes the language, remembers the choice, and rewrites everything under the root. */
  switchTo(language) {
    this.language = language;
    storeChoice(language);
    for (const kind of ["text", "label", "name", "placeholder"]) {
      for (const node of this.#root.querySelectorAll(`[data-${kind}]`)) this.#write(node, kind);
    }
  }

  #bind(node, kind, key, value) {
    node.dataset[kind] = key;
    node.dataset[`${kind}Value`] = value;
    this.#write(node, kind);
    return node;
  }

  #write(node, kind) {
    const words = this.words(node.dataset[kind], node.dataset[`${kind}Value`]);
    if (kind === "text") node.textContent = words;
    if (kind === "placeholder") node.placeholder = words;
    if (kind !== "text") node.setAttribute("aria-label", words);
    if (kind === "label") node.title = words;
  }
}

function readChoice() {
  try {
    return localStorage.getItem(STORAGE_KEY);
  } catch {
    return null; // Storage is forbidden in this browser: the choice lasts as long as the page.
  }
}

function storeChoice(language) {
  try {
    localStorage.setItem(STORAGE_KEY, language);
  } catch {
    // As above.
  }
}
