// Calls of /api/v1. A session is a cookie that scripts cannot read; what changes something brings its token.
const BASE = "/api/v1";
let token = "";

export class ApiError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

export async function call(method, path, body, headers = {}) {
  const options = { method, headers: { Accept: "application/json", ...headers }, credentials: "same-origin" };
  if (method !== "GET") options.headers["X-CSRF-Token"] = token;
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(BASE + path, options);
  } catch {
    throw new ApiError(0, "Parley does not answer; try again in a moment.");
  }
  if (answer.status === 204) return null;
  const value = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ApiError(answer.status, value.detail || value.title || `Status ${answer.status}`);
  return value;
}

function keep(me) {
  token = me.csrf_token;
  return me;
}

export const session = async () => keep(await call("GET", "/session"));
export const signIn = async (login, password) => keep(await call("POST", "/session", { login, password }));
export const signOut = async () => {
  await call("DELETE", "/session");
  token = "";
};
export const query = (values) => {
  const given = Object.entries(values).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  return given.length ? "?" + new URLSearchParams(given) : "";
};
