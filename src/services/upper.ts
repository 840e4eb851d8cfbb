import type { Service } from "./service.ts";

/** Every message comes back in capital letters, of any script. Text only. */
export const upper: Service = {
  message(session, payload) {
    session.send(session.text(payload).toUpperCase());
  },
};
