// The page: sign-in, sections by the fragment of the address, and what is renewed while one looks.
import { session, signIn, signOut } from "./api.js";
import { field, h, say, show } from "./dom.js";
import * as views from "./views.js";

const SECTIONS = { users: "Users", groups: "Groups", live: "Live", sync: "Sync", devices: "Devices" };
const EVERY_MS = 5000;
const main = document.getElementById("main");
const nav = document.getElementById("nav");
const who = document.getElementById("who");
let renew = null;
let turn = 0;

function welcome(text = "") {
  renew = null;
  turn += 1;
  nav.hidden = who.hidden = true;
  const login = field("Login", { required: true, autocomplete: "username", autocapitalize: "none", spellcheck: "false" });
  const password = field("Password", { type: "password", required: true, autocomplete: "current-password" });
  const problem = h("p", { class: "problem", role: "alert", hidden: !text }, text);
  const button = h("button", { class: "main", type: "submit" }, "Sign in");
  const form = h("form", { class: "card signin" }, h("h1", {}, "Sign in"), h("p", { class: "lead" }, "For administrators of this server."),
    login.label, login.input, password.label, password.input, problem, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      enter(await signIn(login.input.value, password.input.value));
    } catch (error) {
      problem.textContent = error.status === 401 ? "Login or password are wrong." : error.message;
      problem.hidden = false;
      password.input.focus();
    }
    button.disabled = false;
  });
  show(main, form);
  document.title = "Sign in - Parley";
  login.input.focus();
}

function enter(me) {
  if (!me.administrator) {
    signOut().catch(() => {});
    welcome(`${me.address} is no administrator; web.administrators names them.`);
    return;
  }
  show(nav, ...Object.entries(SECTIONS).map(([name, text]) => h("a", { href: `#${name}` }, text)));
  const leave = h("button", { class: "small", onclick: () => signOut().then(() => welcome(), (error) => say(error.message, true)) }, "Sign out");
  show(who, h("span", {}, me.display_name || me.address), leave);
  nav.hidden = who.hidden = false;
  open();
}

async function open() {
  const name = location.hash.slice(1) in SECTIONS ? location.hash.slice(1) : "users";
  const mine = ++turn;
  renew = null;
  for (const link of nav.children) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${SECTIONS[name]} - Parley`;
  try {
    const again = await views[name](main);
    if (mine === turn) renew = again ?? null;
  } catch (error) {
    failed(error);
  }
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

function failed(error) {
  if (error.status === 401) welcome("You were signed out.");
  else say(error.message, true);
}

function tick() {
  if (renew && !document.hidden) renew().catch(failed);
}

window.addEventListener("hashchange", () => { if (!nav.hidden) open(); });
setInterval(tick, EVERY_MS);
session().then(enter, (error) => (error.status === 401 ? welcome() : welcome(error.message)));
