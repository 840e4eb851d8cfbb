import type { Service } from "./service.ts";

/** Every message comes back as it was. */
export const echo: Service = {
  isEcho: true,
  message(session, payload) {
    session.send(payload);
  },
};
