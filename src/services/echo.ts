import type { Service } from "./service.ts";

/** Every message comes back as it was. */
export const echo: Service = {
  message(session, payload) {
    session.send(payload);
  },
};
